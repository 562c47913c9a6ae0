"""Reports: one HTML file of results that works without a network (extra `report`).

`js.report` writes it. A section shows a record: a matrix, a tree, or a table. Use `sections.register` to define how to
show records of another kind; unknown kinds show their own table.
"""

from jaxsim.reports import model_sections as model_sections
from jaxsim.reports.html_page import page as page
from jaxsim.reports.html_page import report as report
from jaxsim.reports.record_sections import Column as Column
from jaxsim.reports.record_sections import Section as Section
from jaxsim.reports.record_sections import matrix as matrix
from jaxsim.reports.record_sections import sections as sections
