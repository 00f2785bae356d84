# Makes more_statistics.json: R 4.2.2 with quantreg 5.94, lme4 1.1-31 and jsonlite, run in this folder by
#   Rscript more_statistics.R
suppressMessages({library(quantreg); library(lme4); library(jsonlite)})
d <- read.csv("cohort300.csv")
d$ln_n <- log(d$neutrophils); d$ln_l <- log(d$lymphocytes); d$ln_p <- log(d$platelets)
table_of <- function(x) setNames(lapply(rownames(x), function(n) as.list(setNames(x[n, ], NULL))), rownames(x))

parts <- lm(vbq ~ age + sex_male + smoking + diabetes + bmi + ln_n + ln_l + ln_p, d)
ratios <- lm(vbq ~ age + sex_male + smoking + diabetes + bmi + I(ln_n - ln_l) + I(ln_p - ln_l), d)
test <- anova(ratios, parts)

upper <- rq(vbq ~ age + sex_male, tau = .75, data = d)

mixed <- lmer(vbq ~ age + sex_male + smoking + diabetes + bmi + nlr + plr + (1 | scanner_stratum), d,
              control = lmerControl(optCtrl = list(ftol_abs = 1e-14, xtol_abs = 1e-12)))
flat <- suppressMessages(lmer(vbq ~ age + sex_male + smoking + diabetes + bmi + nlr + plr + (1 | diabetes_group),
              transform(d, diabetes_group = seq_len(nrow(d)) %% 5)))

one <- d[1:150, ]; other <- d[151:300, ]
risk <- glm(event ~ vbq + nlr + plr, binomial, one, control = list(epsilon = 1e-14, maxit = 100))
other$lp <- predict(risk, other)
again <- glm(event ~ lp, binomial, other, control = list(epsilon = 1e-14, maxit = 100))
cuts <- sapply(d[c("vbq", "nlr", "plr")], quantile, .75, names = FALSE)
flagged <- d$vbq >= cuts["vbq"] & (d$nlr > cuts["nlr"] | d$plr > cuts["plr"])
some <- d$vbq >= cuts["vbq"] | d$nlr > cuts["nlr"] | d$plr > cuts["plr"]
net <- function(acted, t) (sum(d$event[acted]) - sum(1 - d$event[acted]) * t / (1 - t)) / nrow(d)

write_json(list(
  parts = list(terms = table_of(summary(parts)$coefficients), f = test$F[2], df = test$Res.Df[2], p = test$`Pr(>F)`[2]),
  upper = table_of(summary(upper, se = "nid")$coefficients),
  mixed = list(terms = table_of(summary(mixed)$coefficients[, 1:2]), between = sqrt(as.numeric(VarCorr(mixed)[[1]])),
               within = sigma(mixed)),
  flat = list(terms = table_of(summary(flat)$coefficients[, 1:2]), between = sqrt(as.numeric(VarCorr(flat)[[1]])),
              within = sigma(flat)),
  risk = list(coefficients = as.list(unname(coef(risk))), calibration = as.list(unname(coef(again)))),
  benefit = list(cuts = as.list(unname(cuts)), flagged = net(flagged, .2), some = net(some, .2),
                 everybody = net(rep(TRUE, 300), .2))
), "more_statistics.json", auto_unbox = TRUE, digits = 12, pretty = TRUE)
