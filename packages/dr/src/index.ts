// The public face of @heptad/dr.

export type { HealthSample } from './predict/features.ts';
export {
  type FailoverModel,
  FailoverPredictor,
  type FailoverPredictorOptions,
  type Prediction,
  parseFailoverModel,
} from './predict/predictor.ts';
