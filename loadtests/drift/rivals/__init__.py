"""Who tells drift beside Evergreen, each from the same rows of the same reference."""
