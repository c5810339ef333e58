"""probe: linear probing over cached frozen features, for universal image retrieval.

Data flows one way:
manifest -> backbone -> extract -> feature store -> head + loss -> fit -> search -> metrics -> table.
"""
