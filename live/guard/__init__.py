"""What must hold before the first real order: a checklist, the settings of the exchange, and the limits that count."""
