"""Instruction data of the language model: tasks, prompts, the mixture and the id space."""
