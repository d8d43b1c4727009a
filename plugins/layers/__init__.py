"""Blocks that several techniques share."""
