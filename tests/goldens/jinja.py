"""Writes the texts of runtime/src/text/chat/jinja/cases.json: what transformers makes of each of its templates.

Needs transformers 5 and jinja2. Add a template to the file with any text, and run this.
"""

import json
import pathlib

from transformers.utils.chat_template_utils import render_jinja_template

PATH = pathlib.Path(__file__).parents[2] / "runtime/src/text/chat/jinja/cases.json"


def text(template, variables):
    try:
        return render_jinja_template([[]], chat_template=template, **variables)[0][0]
    except Exception:
        return None


cases = json.loads(PATH.read_text())
variables = cases["variables"]
lines = [json.dumps([template, text(template, variables)]) for template, _ in cases["cases"]]
PATH.write_text(f'{{"variables": {json.dumps(variables)},\n"cases": [\n' + ",\n".join(lines) + "\n]}\n")
