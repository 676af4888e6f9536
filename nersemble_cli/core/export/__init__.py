"""What trainers read: one module for each format, all of them writing what `run.run_export` carries out.

The world is never moved, turned or scaled, and intrinsics keep their convention (see docs/conventions.md).
"""
