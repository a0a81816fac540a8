"""Alerts: a process beside the loop that reads its journal, tells a person, and takes a person's commands."""
