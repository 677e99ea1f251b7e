"""Tables in; features, classes and a schema out.

`reading` opens files and leaves CSV as the text that it is; `cells` says what a cell means, whatever the cells beside
it; `learning` decides once, on the training table, how each column is read, and `forms` how its text is written;
`schema` does the same to every later table.
"""

from chainrule.tables.cells import Form
from chainrule.tables.forms import Choices
from chainrule.tables.learning import learn_schema, learn_target
from chainrule.tables.reading import as_frame, read_table
from chainrule.tables.schema import Column, Counts, Schema, Target

__all__ = [
    "Choices", "Column", "Counts", "Form", "Schema", "Target", "as_frame", "learn_schema", "learn_target",
    "read_table",
]  # fmt: skip
