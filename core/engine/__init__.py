"""From an experiment to stored results: the plan, its steps, and what carries them out."""
