"""The built-in plugins: one technique a module, grouped by kind, found through the same entry points as any other."""
