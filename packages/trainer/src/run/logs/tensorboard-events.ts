import type { RunEvent } from '../run-events.js';
import { maskedCrc32c } from './crc32c.js';
import { bytesField, doubleField, floatField, joined, messageField, textField, varintField } from './protobuf.js';

/** Fields of `Event`, `Summary`, `Summary.Value`, `Summary.Image`, `SessionLog` (tensorflow/core/util/event.proto, framework/summary.proto). */
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 } as const;
const SUMMARY_VALUE = 1;
const VALUE = { tag: 1, simpleValue: 2, image: 4 } as const;
const IMAGE = { height: 1, width: 2, colorspace: 3, encoded: 4 } as const;
const RGB = 3;
const SESSION = { status: 1, start: 1 } as const;

/** The records that begin a file: its version, and that what earlier files say of later steps does not count. */
export function tensorboardHeader(step: number, seconds: number): Uint8Array {
	return joined([
		record([doubleField(EVENT.wallTime, seconds), textField(EVENT.fileVersion, 'brain.Event:2')]),
		...(step === 0
			? []
			: [
					record([
						doubleField(EVENT.wallTime, seconds),
						varintField(EVENT.step, step + 1),
						messageField(EVENT.sessionLog, [varintField(SESSION.status, SESSION.start)]),
					]),
				]),
	]);
}

/** The records of an event of a run; none for what TensorBoard has no place for. @param seconds since 1970 */
export function tensorboardRecords(event: RunEvent, seconds: number): Uint8Array {
	const scalars = scalarsOf(event).map(([tag, value]) =>
		messageField(SUMMARY_VALUE, [textField(VALUE.tag, tag), floatField(VALUE.simpleValue, value)]),
	);
	const images =
		event.type !== 'pictures'
			? []
			: event.pictures.map(({ prompt, png, width, height }, i) =>
					messageField(SUMMARY_VALUE, [
						textField(VALUE.tag, `validation/${i}: ${prompt.slice(0, 100)}`),
						messageField(VALUE.image, [
							varintField(IMAGE.height, height),
							varintField(IMAGE.width, width),
							varintField(IMAGE.colorspace, RGB),
							bytesField(IMAGE.encoded, png),
						]),
					]),
				);
	const values = [...scalars, ...images];
	if (values.length === 0) return new Uint8Array(0);
	return record([doubleField(EVENT.wallTime, seconds), varintField(EVENT.step, event.step), messageField(EVENT.summary, values)]);
}

function scalarsOf(event: RunEvent): readonly (readonly [string, number])[] {
	switch (event.type) {
		case 'step':
			return [
				['train/loss', event.loss],
				['train/gradient_norm', event.gradientNorm],
				['train/epoch', event.epoch],
				['train/seconds', event.seconds],
				...Object.entries(event.rates).map(([group, rate]) => [`learning_rate/${group}`, rate] as const),
			];
		case 'validation':
			return [['validation/loss', event.loss]];
		case 'overflow':
			return [['train/loss_scale', event.scale]];
		default:
			return [];
	}
}

/** TFRecord: length (uint64), its CRC, the data, its CRC (tensorflow/core/lib/io/record_writer.h). */
function record(fields: readonly Uint8Array[]): Uint8Array {
	const data = joined(fields);
	const length = new Uint8Array(8);
	new DataView(length.buffer).setBigUint64(0, BigInt(data.byteLength), true);
	return joined([length, uint32(maskedCrc32c(length)), data, uint32(maskedCrc32c(data))]);
}

function uint32(value: number): Uint8Array {
	const bytes = new Uint8Array(4);
	new DataView(bytes.buffer).setUint32(0, value, true);
	return bytes;
}
