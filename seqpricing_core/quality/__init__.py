"""The quality gate: what is suspicious in raw tables, by name, and what to do about it.

One check, one small file; `gate` lists them. A check only reports: nothing here repairs or drops a row. A bad
price is often known for one only by what came after it (a slip reverses), so a gate that removed it would
choose last month's data with next month's knowledge. Correct the source file instead, for every study alike.
"""
