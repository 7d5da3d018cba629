// A .tflite file that edgecat exported, in an Android app, with LiteRT: implementation("com.google.ai.edge.litert:litert:2.3.0")
//
// The file is one of `edgecat export efficientnet_lite0 --int8 --io int8 --format tflite`, in the app's assets. `edgecat info FILE` says what
// to know of it: labels, size, the whole photo squashed to that size, and an input of pixel - 128 and scores of 1/256 each, both int8.
import android.content.res.AssetManager
import android.graphics.Bitmap
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import kotlin.math.abs

class CatOrDog(assets: AssetManager) : AutoCloseable {
    private val labels = listOf("cat", "dog", "neither")
    private val size = 224
    private val model = CompiledModel.create(assets, "efficientnet_lite0-int8.tflite", CompiledModel.Options(Accelerator.CPU))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()

    /** Each label's score, 0..1. The photo is upright, as ImageDecoder makes it, ARGB_8888 and not on the GPU alone. One thread at a time. */
    fun classify(photo: Bitmap): Map<String, Float> {
        val pixels = IntArray(photo.width * photo.height)
        photo.getPixels(pixels, 0, photo.width, 0, 0, photo.width, photo.height)
        val squashed = scale(scale(pixels, photo.height, photo.width), size, photo.height)
        inputs[0].writeInt8(ByteArray(3 * size * size) { ((squashed[it / 3] shr (16 - 8 * (it % 3)) and 255) - 128).toByte() }) // R, G, B, R, ...
        model.run(inputs, outputs)
        val scores = outputs[0].readInt8()
        return labels.indices.associate { labels[it] to (scores[it] + 128) / 256f }
    }

    override fun close() {
        (inputs + outputs).forEach { it.close() }
        model.close()
    }

    /**
     * Scales one axis as Pillow's BILINEAR does, antialiased; createScaledBitmap leaves pixels out, which the model notices. `pixels` are
     * `lines` times `length`; the result is `size` times `lines`: turned, so that a second call scales the other axis.
     */
    private fun scale(pixels: IntArray, lines: Int, length: Int): IntArray {
        val result = IntArray(size * lines)
        val step = length.toDouble() / size
        val reach = maxOf(1.0, step)
        for (place in 0 until size) {
            val centre = (place + 0.5) * step
            val first = maxOf(0, (centre - reach + 0.5).toInt())
            val end = minOf(length, (centre + reach + 0.5).toInt())
            val weights = DoubleArray(end - first) { maxOf(0.0, 1 - abs((first + it - centre + 0.5) / reach)) }
            val sum = weights.sum()
            for (line in 0 until lines) {
                var pixel = 0
                for (shift in intArrayOf(16, 8, 0)) {
                    var value = 0.0
                    for (k in weights.indices) value += weights[k] * (pixels[line * length + first + k] shr shift and 255)
                    pixel = pixel or ((value / sum + 0.5).toInt() shl shift)
                }
                result[place * lines + line] = pixel
            }
        }
        return result
    }
}
