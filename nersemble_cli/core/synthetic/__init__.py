"""A small made-up benchmark in the official layout: heads that nobody has, for the tests and the demo.

`make_benchmark(folder)` writes it, `write_flame_model(folder)` the FLAME-shaped model that its tracking fits, and
`render_frames` gives what hold-out cameras see.
"""

from nersemble_cli.core.synthetic.benchmark import Recipe as Recipe
from nersemble_cli.core.synthetic.benchmark import make_benchmark as make_benchmark
from nersemble_cli.core.synthetic.benchmark import render_frames as render_frames
from nersemble_cli.core.synthetic.benchmark import render_view as render_view
from nersemble_cli.core.synthetic.head import write_flame_model as write_flame_model
