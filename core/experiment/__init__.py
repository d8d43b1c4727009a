"""The experiment file: its schema, what it varies, what it claims, what others published."""
