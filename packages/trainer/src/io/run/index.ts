export { type CheckpointStoreOptions, createCheckpointStore } from './checkpoint-store.js';
export { type Dashboard, type DashboardOptions, startDashboard } from './dashboard-server.js';
export { checkResume, type FoundCheckpoint, findCheckpoint } from './resume-checkpoint.js';
export { openRunFolder, type RunFolder } from './run-folder.js';
export { openRunLogs, type RunLogs } from './run-logs.js';
