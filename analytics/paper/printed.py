"""What the paper prints, to be shown beside the same numbers of another cohort; never used in a computation.

References
----------
Table 1 (mean and SD of the high and the low group, counts, p), Table 2 (b, β standardised, t, 95 % interval, VIF,
partial R², p) and Results (Spearman's ρ; adjusted R²) of the paper.
"""

TABLE_1_CONTINUOUS = {
    "age": ("68.63", "7.95", "59.69", "6.25", "< 0.001"),
    "bmi": ("20.42", "0.82", "20.51", "0.91", "0.452"),
    "nlr": ("3.64", "1.55", "2.31", "1.30", "< 0.001"),
    "plr": ("244.28", "37.52", "212.44", "39.67", "< 0.001"),
}
"""Mean and SD of high and low VBQ, and p."""

TABLE_1_BINARY = {
    "sex_male": (33, 66, 54, 47, "0.006"),
    "smoking": (63, 36, 43, 58, "0.004"),
    "diabetes": (60, 39, 40, 61, "0.005"),
    "hypertension": (53, 46, 49, 52, "0.570"),
    "calcium": (58, 41, 61, 40, "0.907"),
}
"""Yes and no of high and low VBQ, and p; the men of the low group are printed as "54 (57)" (47 by its n)."""

SEX_OF_THE_LOW_GROUP = (54, 57)
"""Men and women as printed, "54 (57)"."""

TABLE_1_DIAGNOSIS = {"LDH": (41, 44), "LSS": (40, 30), "LS": (18, 27)}
"""Herniation, stenosis, spondylolisthesis: high and low VBQ."""

TABLE_2 = {
    "age": (0.011, 0.454, 6.15, 0.0074, 0.0145, 2.26, 0.165, "< 0.001"),
    "sex_male": (-0.016, -0.0391, -0.77, -0.0567, 0.0248, 1.06, 0.003, "0.440"),
    "smoking": (0.0086, 0.0212, 0.38, -0.0361, 0.0533, 1.29, 0.001, "0.741"),
    "diabetes": (0.014, 0.0347, 0.63, -0.0296, 0.0577, 1.24, 0.002, "0.527"),
    "bmi": (0.0072, 0.0305, 0.61, -0.016, 0.0304, 1.03, 0.002, "0.542"),
    "nlr": (0.0196, 0.1513, 2.21, 0.0021, 0.0372, 1.95, 0.025, "0.028"),
    "plr": (0.0015, 0.3031, 5.96, 0.0010, 0.0020, 1.07, 0.156, "< 0.001"),
}

RHO = {"age": 0.650, "nlr": 0.534, "plr": 0.452, "bmi": 0.093}

ADJUSTED_R2 = 0.5203

N = 200

P_DIAGNOSIS = "0.434"
P_SMOKING = "0.7406"
"""Of Table 1 and of Table 2."""

AGE_IN_THE_ABSTRACT = ("64.8", "8.7")
"""Mean and SD."""

LOG_NLR = (0.0270, 0.098)
"""b and p of ln NLR in the sensitivity analysis."""
