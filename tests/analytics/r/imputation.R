# Makes imputation.json: R 4.2.2 with mice 3.15 and jsonlite, run in this folder by
#   Rscript imputation.R
# Gaps are made by a rule that test_imputation.py repeats: BMI where the row's number (from 1) is divisible by 9 and VBQ
# is above its median, smoking by 11, NLR and PLR by 13.
suppressMessages({library(mice); library(jsonlite)})
d <- read.csv("cohort300.csv")[c("vbq", "age", "sex_male", "smoking", "diabetes", "bmi", "nlr", "plr")]
i <- seq_len(nrow(d))
d$bmi[i %% 9 == 0 & d$vbq > median(d$vbq)] <- NA
d$smoking[i %% 11 == 0] <- NA
d$nlr[i %% 13 == 0] <- NA; d$plr[i %% 13 == 0] <- NA
model <- function(x) lm(vbq ~ age + sex_male + smoking + diabetes + bmi + nlr + plr, x)
filled <- lapply(1:4, function(k) { x <- d
  for (n in names(x)) x[[n]][is.na(x[[n]])] <- mean(d[[n]], na.rm = TRUE) + (k - 2.5) * sd(d[[n]], na.rm = TRUE)
  model(x) })
rules <- summary(pool(filled), conf.int = TRUE)
fmi <- pool(filled)$pooled$fmi
whole <- summary(pool(with(mice(d, m = 50, maxit = 20, method = "pmm", seed = 1, printFlag = FALSE),
                           lm(vbq ~ age + sex_male + smoking + diabetes + bmi + nlr + plr))))
shown <- function(s, columns) setNames(lapply(seq_len(nrow(s)), function(k) as.list(unname(s[k, columns]))), s$term)
write_json(list(rules = shown(rules, c("estimate", "std.error", "df", "p.value", "2.5 %", "97.5 %")), fmi = fmi,
                whole = shown(whole, c("estimate", "std.error"))),
           "imputation.json", auto_unbox = TRUE, digits = 12, pretty = TRUE)
