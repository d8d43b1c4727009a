"""From stored results to findings: what was registered, what may be compared, what was found, how it is said."""
