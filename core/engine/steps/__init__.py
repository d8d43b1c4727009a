"""The steps of the engine, a module each: its version, the fields and inputs that it reads, how a trial asks for it
(`<step>_step`), and what it computes (`compute`), pure in its fields and inputs.

decode, encode, fit, score, mine, fit_reranker, match, candidates, index, rank, diagnose, efficiency and evaluate are
steps; a trial asks for `evaluate`, and each step for those that it reads. The others are what steps share: `step`
itself, `seeded` (a variant with a seed, which asks), `split` and `rows` (what is encoded), `first_stage` (how scores
and candidates are asked for), `transforms` and `weights`.
"""
