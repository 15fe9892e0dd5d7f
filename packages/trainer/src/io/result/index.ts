export { type Pushed, type PushOptions, pushToHub } from './push-to-hub.js';
export { type SavedResult, type SaveResultOptions, saveResult, type TrainingResult } from './save-result.js';
