"""Promotions back and forth under load: what they cost those who ask, and what they leave behind in memory."""
