"""Pages from their templates: text stays text, and what a template asks for must be there."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def filled(name: str, **values: object) -> str:
    """A template with its values.

    Args:
        name: File of the template, beside this module.
        values: By the names that the template has for them. Text among them is never taken for markup.
    """
    environment = Environment(
        loader=PackageLoader("bonehpo.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(**values)
