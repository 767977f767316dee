"""Search spaces: each module here is the space of one recipe, and its file name is the recipe's name.

Only the standard library is imported, so that listing recipes and exporting a space are instant.
"""

from search_spaces.shared.training import Training
from search_spaces.space.discovery import import_recipe, recipes, space_of
from search_spaces.space.domains import Choice, Domain, Domains, Float, Int, Value
from search_spaces.space.errors import InputError
from search_spaces.space.outside import add_recipes
from search_spaces.space.shape import DataShape
from search_spaces.space.space import FIXED, Limits, Searched, Space, Variant, When, holds, narrow

__all__ = [
    "FIXED",
    "Choice",
    "DataShape",
    "Domain",
    "Domains",
    "Float",
    "InputError",
    "Int",
    "Limits",
    "Searched",
    "Space",
    "Training",
    "Value",
    "Variant",
    "When",
    "add_recipes",
    "holds",
    "import_recipe",
    "narrow",
    "recipes",
    "space_of",
]
