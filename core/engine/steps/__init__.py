"""The steps of the engine: decode, encode, fit, score, candidates, rank, evaluate. One function each, pure in its
fields and inputs."""
