/**
 * `@lorakit/runtime/node`: what needs Node. Everything else is in the main entry.
 */
export { type OpenBaseOptions, openBase } from './open-base.js';
