"""What a submission would score: the benchmark's metrics, computed on training data."""
