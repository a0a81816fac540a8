"""Market data of the live loop: complete, validated rows of bars in order, and quotes between them."""
