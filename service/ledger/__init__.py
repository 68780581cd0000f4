"""What is kept of predictions, labels and drift, in SQLite or PostgreSQL. It must not know the web, nor what a drift is.

`records` alone is imported by processes other than control: the rest needs SQLAlchemy.
"""
