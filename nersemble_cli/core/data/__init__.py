"""The benchmark data in memory."""
