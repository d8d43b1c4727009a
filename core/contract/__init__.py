"""What plugin authors read, and what all else rests on: components, features, settings; keys, store, texts, places."""
