"""Rules: each turns what one look has found, and what it remembers, into alerts; all of them are pure."""
