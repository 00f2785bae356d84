"""What the paper prints, to be shown beside the same numbers of another cohort; never used in a computation.

References
----------
Table 2 (b, β standardised, t, VIF, partial R²) and Results (Spearman's ρ; adjusted R²) of the paper.
"""

TABLE_2 = {
    "age": (0.011, 0.454, 6.15, 2.26, 0.165),
    "sex_male": (-0.016, -0.0391, -0.77, 1.06, 0.003),
    "smoking": (0.0086, 0.0212, 0.38, 1.29, 0.001),
    "diabetes": (0.014, 0.0347, 0.63, 1.24, 0.002),
    "bmi": (0.0072, 0.0305, 0.61, 1.03, 0.002),
    "nlr": (0.0196, 0.1513, 2.21, 1.95, 0.025),
    "plr": (0.0015, 0.3031, 5.96, 1.07, 0.156),
}

RHO = {"age": 0.650, "nlr": 0.534, "plr": 0.452, "bmi": 0.093}

ADJUSTED_R2 = 0.520
