"""The Monitoring Layer: separate processes that read the journal, and of which trading needs none."""
