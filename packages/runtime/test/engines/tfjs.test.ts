import { createFloat64Engine } from '../../src/engines/float64/index.js';
import { createTfjsEngine } from '../../src/engines/tfjs/index.js';
import { engineContract } from './engine-contract.js';

// Single precision: sums of up to 600 products in order, and erf by a polynomial that is right to 1.5e-7.
engineContract('tfjs cpu', () => createTfjsEngine({ backend: 'cpu' }), { oracle: createFloat64Engine(), tolerance: 2e-6 });
engineContract('tfjs wasm', () => createTfjsEngine({ backend: 'wasm' }), { oracle: createFloat64Engine(), tolerance: 2e-6 });
