import path from 'node:path';
import type { RunConfig } from '../../run/config/run-config.js';
import type { RunEvent } from '../../run/run-events.js';
import { METRICS_NAME, type MetricsLog, openMetricsLog } from './metrics-log.js';
import { writePictures } from './picture-files.js';
import { openTensorboardLog, type TensorboardLog } from './tensorboard-log.js';
import { openWandbLog, type WandbLog } from './wandb-log.js';

/** Everything that is written down of a run. */
export interface RunLogs {
	/** Call with every event, in order. @throws {FormatError} `E_IO`, `E_NO_SPACE` */
	write(event: RunEvent): Promise<void>;
	close(): void;
}

/** Folder of event files below the run's. */
const TENSORBOARD_FOLDER = 'logs';

/**
 * Open the logs that a configuration asks for, in an open run folder: `metrics.jsonl`, `logs/events.out.tfevents...`, an offline run
 * under `wandb/`, and validation pictures as files. The dashboard reads `metrics.jsonl`, so asking for it brings that along.
 * @param version of lorakit
 * @throws {FormatError} `E_IO`, `E_NO_SPACE`
 */
export function openRunLogs(folder: string, { logs: config, ...settings }: RunConfig, version: string): RunLogs {
	const metrics: MetricsLog | undefined = config.jsonl || config.dashboard ? openMetricsLog(path.join(folder, METRICS_NAME)) : undefined;
	let board: TensorboardLog | undefined;
	let wandb: WandbLog | undefined;
	return {
		async write(event) {
			// Their files say where they begin, which the first event tells.
			if (config.tensorboard) board ??= openTensorboardLog(path.join(folder, TENSORBOARD_FOLDER), event.step);
			board?.write(event);
			if (config.wandb) {
				wandb ??= openWandbLog({
					folder,
					project: config.wandb_project,
					config: { ...settings },
					version,
					step: event.step,
				});
			}
			wandb?.write(event);
			const files = event.type === 'pictures' ? await writePictures(folder, event.step, event.pictures) : [];
			metrics?.write(event, files);
		},
		close() {
			metrics?.close();
			board?.close();
			wandb?.close();
		},
	};
}
