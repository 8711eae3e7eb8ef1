"""What lies on disk, whole or not at all: files, tensors, checkpoints, run folders, tables."""
