"""The exercises of each chapter: one module a chapter, which lists its EXERCISES."""
