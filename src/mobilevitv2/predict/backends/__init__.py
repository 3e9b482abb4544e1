"""Where a model computes: PyTorch, the engine, or an exported file's own runtime."""
