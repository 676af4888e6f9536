"""FLAME: its model file, the layer in PyTorch, the tracking."""
