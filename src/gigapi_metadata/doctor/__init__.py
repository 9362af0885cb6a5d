"""Is this catalog safe where it stands? What a store and its surroundings say, as findings.

The rules (`redis`, `sqlite`, `json`, `disk`, `layers`) are pure: they take what was read and yield
findings. What is read, and how, stands in `reading/`. `examine` puts the two together.
"""

from gigapi_metadata.doctor.examine import Doctor, examine
from gigapi_metadata.doctor.finding import Finding, Level, worst

__all__ = ["Doctor", "Finding", "Level", "examine", "worst"]
