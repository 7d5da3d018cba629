// What examples/android uses of Android, LiteRT and an app, for the tests.
import android.content.res.AssetManager
import android.graphics.Bitmap
import java.io.File
import javax.imageio.ImageIO
fun main(arguments: Array<String>) {
    val image = ImageIO.read(File(arguments[0]))
    val photo = Bitmap(image.width, image.height, image.getRGB(0, 0, image.width, image.height, null, 0, image.width))
    val classifier = CatOrDog(AssetManager())
    println(classifier.classify(photo))
    classifier.close()
}
