"""The sections of the tearsheet by subject: opening, money, trading, returns, belief; each is HTML and its figures."""
