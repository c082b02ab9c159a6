// Logistic regression: fit by gradient descent with ridge, and evaluate with threshold metrics.

/** A fitted model; what the committed `model.json` holds beside its provenance. */
export interface LogisticModel {
  readonly features: readonly string[];
  /** Mean and deviation of each feature in the training set: inputs are standardised with them. */
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
  readonly weights: readonly number[];
  readonly bias: number;
}

/** One labelled window. */
export interface Example {
  readonly features: readonly number[];
  /** 1: the centre failed within the horizon after this window. */
  readonly label: 0 | 1;
}

/** A feature farther out than this many deviations adds nothing but the power to overrule all others. */
const CLIP = 6;

function standardise(model: LogisticModel, features: readonly number[]): number[] {
  return model.weights.map((_, index) => {
    const centred = (features[index] ?? 0) - (model.mean[index] ?? 0);
    const scaled = centred / (model.deviation[index] || 1);
    return Math.min(CLIP, Math.max(-CLIP, scaled));
  });
}

/** Contribution of each feature to the log-odds, and the probability. Pure. */
export function score(
  model: LogisticModel,
  features: readonly number[],
): { readonly probability: number; readonly contributions: readonly number[] } {
  const contributions = standardise(model, features).map(
    (value, index) => value * (model.weights[index] ?? 0),
  );
  const logit = contributions.reduce((sum, value) => sum + value, model.bias);
  return { probability: 1 / (1 + Math.exp(-logit)), contributions };
}

/** Fits by full-batch gradient descent with ridge penalty. Deterministic: no chance in it. */
export function fitLogistic(
  examples: readonly Example[],
  names: readonly string[],
  options: { iterations?: number; learningRate?: number; ridge?: number } = {},
): LogisticModel {
  const { iterations = 600, learningRate = 0.5, ridge = 1e-3 } = options;
  const count = examples.length;
  const mean = names.map((_, f) => examples.reduce((sum, e) => sum + (e.features[f] ?? 0), 0) / count);
  const deviation = names.map((_, f) =>
    Math.sqrt(
      examples.reduce((sum, e) => sum + ((e.features[f] ?? 0) - (mean[f] ?? 0)) ** 2, 0) / count || 1,
    ),
  );
  let model: LogisticModel = { features: names, mean, deviation, weights: names.map(() => 0), bias: 0 };
  const inputs = examples.map((example) => standardise(model, example.features));
  for (let round = 0; round < iterations; round += 1) {
    const gradient = names.map((_, f) => ridge * (model.weights[f] ?? 0));
    let biasGradient = 0;
    inputs.forEach((input, index) => {
      const logit = input.reduce((sum, value, f) => sum + value * (model.weights[f] ?? 0), model.bias);
      const error = (1 / (1 + Math.exp(-logit)) - (examples[index]?.label ?? 0)) / count;
      biasGradient += error;
      input.forEach((value, f) => {
        gradient[f] = (gradient[f] ?? 0) + error * value;
      });
    });
    model = {
      ...model,
      weights: model.weights.map((weight, f) => weight - learningRate * (gradient[f] ?? 0)),
      bias: model.bias - learningRate * biasGradient,
    };
  }
  return model;
}

/** How a model does on examples it has not seen. */
export interface Evaluation {
  readonly threshold: number;
  readonly examples: number;
  readonly positives: number;
  readonly precision: number;
  readonly recall: number;
  readonly falsePositiveRate: number;
  /** Mean squared error of the probabilities; 0 is perfect, the base rate's variance is worthless. */
  readonly brier: number;
}

/** Threshold metrics on a labelled set. Pure. */
export function evaluate(model: LogisticModel, examples: readonly Example[], threshold: number): Evaluation {
  let truePositives = 0;
  let falsePositives = 0;
  let positives = 0;
  let squared = 0;
  for (const example of examples) {
    const { probability } = score(model, example.features);
    squared += (probability - example.label) ** 2;
    positives += example.label;
    if (probability <= threshold) continue;
    if (example.label === 1) truePositives += 1;
    else falsePositives += 1;
  }
  const negatives = examples.length - positives;
  return {
    threshold,
    examples: examples.length,
    positives,
    precision: truePositives + falsePositives === 0 ? 0 : truePositives / (truePositives + falsePositives),
    recall: positives === 0 ? 0 : truePositives / positives,
    falsePositiveRate: negatives === 0 ? 0 : falsePositives / negatives,
    brier: examples.length === 0 ? 0 : squared / examples.length,
  };
}
