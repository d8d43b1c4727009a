"""The steps of the engine, a module each: its version, the fields and inputs that it reads, how a trial asks for it
(`<step>_step`), and what it computes (`compute`), pure in its fields and inputs."""
