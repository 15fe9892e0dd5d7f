export { differentiate, gradientName } from './differentiate.js';
export { engineGradients } from './engine-gradients.js';
export type * from './gradient-engine.js';
