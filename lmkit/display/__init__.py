"""How plain data is drawn: tables, figures, panels and units."""
