"""Programs of the peers: run by the interpreters of their own environments, not by ours.

They may import only the standard library, their package, and `job`, `producing` and `records`.
"""
