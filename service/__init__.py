"""The running service: HTTP in front, engine processes behind, and what supervises them."""
