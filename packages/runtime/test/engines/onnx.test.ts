import { createFloat64Engine } from '../../src/engines/float64/index.js';
import { createOnnxEngine } from '../../src/engines/onnx/index.js';
import { engineContract } from './engine-contract.js';

// Single precision: sums of up to 600 products, and erf by a rational approximation, each within a few units of 6e-8.
engineContract('onnx cpu', () => createOnnxEngine(), { oracle: createFloat64Engine(), tolerance: 2e-6 });
