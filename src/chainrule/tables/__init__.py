"""Tables in; features, classes and a schema out; and models that know their table.

`sources` gives a file's bytes and `text` finds out how a text file is written; `reading` makes data frames of them, and
leaves text as the text that it is; `cells` says what a cell means, whatever the cells beside it; `learning` decides
once, on the training table, how each column is read, and `forms` how its text is written; `schema` does the same to
every later table, and `showing` shows it. `model` is a network with its schema, which `load` reads: `evaluation` judges
it, and `attribution` says what each column adds to a prediction.
"""

from chainrule.tables.attribution import Why
from chainrule.tables.cells import Form
from chainrule.tables.evaluation import Evaluation, evaluate
from chainrule.tables.forms import Choices
from chainrule.tables.learning import learn_schema, learn_target
from chainrule.tables.model import TableModel, load
from chainrule.tables.reading import as_frame, read_table
from chainrule.tables.schema import Column, Counts, Schema, Target
from chainrule.tables.text import Reading

__all__ = [
    "Choices", "Column", "Counts", "Evaluation", "Form", "Reading", "Schema", "TableModel", "Target", "Why", "as_frame",
    "evaluate", "learn_schema", "learn_target", "load", "read_table",
]  # fmt: skip
