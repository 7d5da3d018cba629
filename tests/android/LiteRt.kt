// What examples/android uses of Android, LiteRT and an app, for the tests.
package com.google.ai.edge.litert
import android.content.res.AssetManager
import java.io.File
enum class Accelerator { CPU }
class TensorBuffer : AutoCloseable {
    fun writeInt8(data: ByteArray) = File("read").writeBytes(data)
    fun readInt8(): ByteArray = File("answer").readBytes()
    override fun close() {}
}
class CompiledModel : AutoCloseable {
    class Options(vararg val accelerators: Accelerator)
    fun createInputBuffers() = listOf(TensorBuffer())
    fun createOutputBuffers() = listOf(TensorBuffer())
    fun run(inputs: List<TensorBuffer>, outputs: List<TensorBuffer>) {}
    override fun close() {}
    companion object { fun create(assets: AssetManager, name: String, options: Options) = CompiledModel() }
}
